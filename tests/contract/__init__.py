"""One suite per port, the same on the sandbox and on a live control plane."""
