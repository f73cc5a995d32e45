"""One step of many variables, with its state: what every face stands on."""
