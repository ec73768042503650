//! lucius-domain
