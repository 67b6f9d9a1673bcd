"""Work that outlives the request that asked for it: state in a database, images in storage."""
