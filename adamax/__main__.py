"""``python -m adamax`` is the command `adamax`."""

from importlib import import_module

raise SystemExit(import_module("adamax_adapters.cli.main").main())
