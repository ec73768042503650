//! `platform-sis`: a question about a text becomes an answer with its source.
