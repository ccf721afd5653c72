"""`spancost report`: what was spent, by any key of the ledger, in any period and format."""
