"""The judge: of rows by the contract, of candidates by the gates, of shadows by their losses."""
