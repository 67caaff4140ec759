//! Redis's RESP2 and inline commands: requests as clients write them, replies as servers do.
