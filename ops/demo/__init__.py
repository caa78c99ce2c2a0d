"""The whole stream on this machine, from an empty folder to a dataset and a contact sheet."""
