"""Choose an image anomaly detector with many normal images and a handful of labelled anomalies."""
