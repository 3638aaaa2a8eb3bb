// Package startup gives back the memory that only the start of the relay needed.
package startup
