"""What pages are made of: plots, drawings, templates."""
