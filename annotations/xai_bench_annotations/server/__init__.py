"""The web server: tables, accounts, the blind protocol, saving, the audit chain, the REST interface."""
