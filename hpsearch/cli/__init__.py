"""The command line: parse, call the library, print. Nothing else in the project prints."""
