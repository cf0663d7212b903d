"""The page on which clinicians draw reference regions."""
