"""Runbook notebooks for GitOps platforms: observe, plan, decide, apply, verify, and a record of it."""

__version__ = "0.1.0"
