"""The command `adamax`."""
