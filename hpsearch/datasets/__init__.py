"""Image tables: adapters that read them, and the pixel cache that training reads."""
