"""Live adapters: the ports, implemented on the real systems."""
