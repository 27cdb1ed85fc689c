package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// versionInfo is what `keyturn version -o json` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Server   string `json:"server,omitempty"` // the server's version; empty: it could not be asked
}

func newVersionCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of the server",
		Args:  arguments(0, 0),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		info := versionInfo{
			Version: version, Revision: revision(), Go: runtime.Version(),
			Platform: runtime.GOOS + "/" + runtime.GOARCH, Server: e.serverVersion(cmd.Context()),
		}
		if *output == formatJSON {
			return e.printJSON(info)
		}
		e.printf("keyturn %s (%s)\n", info.Version, joinNonEmpty(", ", info.Revision, info.Go, info.Platform))
		if info.Server != "" {
			e.printf("server  %s\n", printable(info.Server))
		}
		return nil
	}
	return cmd
}

// serverVersion is empty when there is no server or no token for it.
func (e *env) serverVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := e.client()
	if err != nil {
		return ""
	}
	defer c.Close()
	v, err := c.Version(ctx)
	if err != nil {
		return ""
	}
	return v
}

// revision is the commit that this program was built from, if the build knew it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	found, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			found = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if found == "" {
		return ""
	}
	return found + dirty
}
