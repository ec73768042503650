//! lucius-embedded-bus
