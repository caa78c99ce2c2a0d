"""The reference pages that follow from the program itself: metrics, settings, profiles, reasons."""
