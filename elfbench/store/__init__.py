"""L3: the store. No mutable global file; every name is content- or row-addressed; every write is temp + fsync + rename."""
