"""LLaVA-NeXT with transformers: what a region shows, and how two marked pictures differ (papers.md 1.6 and 1.7)."""
