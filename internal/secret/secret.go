// Package secret reads secrets from where references to them point. Nothing in
// it keeps, logs or shows a secret.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// MaxBytes bounds the size of a secret's file.
const MaxBytes = 64 << 10

// Resolve returns the secret that a reference names: "env:NAME" is an
// environment variable, "file:/absolute/path" a file of at most 64 KiB, of which
// newlines at the end are not part of the secret. It reads anew each time, so a
// secret that was changed is seen. An error names the reference, never the
// secret, and a reference that is none (it may be a secret) is not shown.
func Resolve(ref string) (string, error) {
	if name, ok := strings.CutPrefix(ref, "env:"); ok {
		return fromEnv(name)
	}
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		return fromFile(path)
	}
	return "", errors.New("this is no reference to a secret: write env:NAME or file:/absolute/path")
}

func fromEnv(name string) (string, error) {
	value, ok := os.LookupEnv(name)
	switch {
	case name == "":
		return "", errors.New("secret env: names no environment variable: write env:NAME")
	case !ok:
		return "", fmt.Errorf("secret env:%s: the environment variable is not set", name)
	case value == "":
		return "", fmt.Errorf("secret env:%s: the environment variable is empty", name)
	default:
		return value, nil
	}
}

func fromFile(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("secret file:%s: the path must be absolute", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("reading secret file:%s: %w", path, withoutPath(err))
	}
	if !info.Mode().IsRegular() { // reading a pipe or a device might never end
		return "", fmt.Errorf("reading secret file:%s: it is no regular file", path)
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("reading secret file:%s: %w", path, withoutPath(err))
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading secret file:%s: %w", path, withoutPath(err))
	}
	if len(data) > MaxBytes {
		return "", fmt.Errorf("reading secret file:%s: it is longer than %d bytes", path, MaxBytes)
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", fmt.Errorf("reading secret file:%s: it is empty", path)
	}
	return value, nil
}

// withoutPath takes the path off an error that is about to be wrapped with it.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}
