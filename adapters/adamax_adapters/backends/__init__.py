"""How an array library executes the rule."""
