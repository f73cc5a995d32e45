"""State of other libraries, and ours."""
