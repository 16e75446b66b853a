"""Configuration and assembly: the only room that names concrete backends."""
