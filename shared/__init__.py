"""What every paper here shares: layers with their pullbacks, data, the experiment engine, the ledger."""
