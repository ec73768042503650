//! Files that something else has changed.
