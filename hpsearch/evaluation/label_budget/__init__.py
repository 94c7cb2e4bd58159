"""How many labelled anomalies are enough: choices made again with fewer or more of them."""
