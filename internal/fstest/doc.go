// Package fstest makes file systems for tests that lack what programs rely on.
package fstest
