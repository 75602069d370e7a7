"""L5: the command line. One file per verb, imported when it is used; they call the public Python interface and print."""
