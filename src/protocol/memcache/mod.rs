//! memcached's ASCII protocol: requests as clients write them, replies as servers do.
