"""The judge: rows against the contract, candidates against the gates, shadows against the champion."""
