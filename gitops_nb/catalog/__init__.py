"""What the team declares in YAML: fleet, policy, runbooks, and the workspace that holds them."""
