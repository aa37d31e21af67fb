"""A local network for emulated boards: Ethernet frames that tests can see, count and damage."""
