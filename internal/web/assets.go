package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets/*.css assets/*.js assets/*.svg assets/*.LICENSE
var assetFiles embed.FS

// assets are the files that pages load. Their addresses hold a hash of their content, so that a browser
// may keep them for ever; they are compressed once.
type assets struct {
	urls  map[string]string // by name: "/assets/site.0a1b2c3d4e5f.css"
	files map[string]asset  // by the last element of the address
}

type asset struct {
	kind          string
	plain, zipped []byte
}

func loadAssets() (*assets, error) {
	a := &assets{urls: map[string]string{}, files: map[string]asset{}}
	names, err := fs.Glob(assetFiles, "assets/*")
	if err != nil {
		return nil, fmt.Errorf("listing the pages' assets: %w", err)
	}
	for _, name := range names {
		content, err := assetFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the pages' assets: %w", err)
		}
		base, ext := path.Base(name), path.Ext(name)
		sum := sha256.Sum256(content)
		file := strings.TrimSuffix(base, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		kind := mime.TypeByExtension(ext)
		if ext == ".LICENSE" {
			kind, file = "text/plain; charset=utf-8", base
		}
		var zipped bytes.Buffer
		zw, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // the level is a valid one
		if _, err := zw.Write(content); err != nil {
			return nil, fmt.Errorf("compressing %s: %w", base, err)
		}
		if err := zw.Close(); err != nil {
			return nil, fmt.Errorf("compressing %s: %w", base, err)
		}
		a.urls[base] = "/assets/" + file
		a.files[file] = asset{kind: kind, plain: content, zipped: zipped.Bytes()}
	}
	return a, nil
}

// url is where a file of the folder assets is served.
func (a *assets) url(name string) string {
	u, ok := a.urls[name]
	if !ok {
		panic("there is no asset " + name) // a mistake in a template, which every test would show
	}
	return u
}

// ServeHTTP implements http.Handler.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := a.files[r.PathValue("name")]
	if !ok {
		http.Error(w, "there is no such file; reload the page", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", file.kind)
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(yearly.Seconds()))+", immutable")
	h.Set("Vary", "Accept-Encoding")
	body := file.plain
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = file.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
