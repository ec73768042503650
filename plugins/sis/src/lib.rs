//! lucius-plugin-sis
