//! memcached's ASCII protocol.
