"""The real stream under faults, and whether anything is lost or doubled. `make chaos`; docs/chaos.md says the rest."""
