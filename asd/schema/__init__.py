"""Parameters described once: type, range, help, flag and role; read from YAML and flags."""
