"""What the gateway thinks of its nodes, and what follows: docs/judging.md."""
