"""The same models with River's interface, for use outside the flow."""
