// Package proxied finds out where a request comes from when there are proxies in between. What a proxy
// says about it is believed only of proxies that the configuration names.
package proxied

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

type secureKey struct{}

// Parse reads addresses and networks such as 10.0.0.0/8 or ::1.
func Parse(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if prefix, err := netip.ParsePrefix(s); err == nil {
			out = append(out, prefix.Masked())
			continue
		}
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network: write 10.0.0.7 or 10.0.0.0/8", s)
		}
		out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return out, nil
}

// Handler serves next with requests whose RemoteAddr is the client's, as far as trusted proxies say so in
// X-Forwarded-For, and of which Secure knows whether the client spoke TLS.
func Handler(trusted []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(trusted) > 0 && isTrusted(trusted, r.RemoteAddr) {
			ctx := context.WithValue(r.Context(), secureKey{}, strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"))
			r = r.WithContext(ctx)
			if client := clientOf(trusted, r.Header.Values("X-Forwarded-For")); client != "" {
				r.RemoteAddr = net.JoinHostPort(client, "0")
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Secure reports whether the client spoke TLS, to this server or to a trusted proxy.
func Secure(r *http.Request) bool {
	said, _ := r.Context().Value(secureKey{}).(bool)
	return said || r.TLS != nil
}

// WithSecure returns the request as one whose client speaks TLS, for who knows that by other means.
func WithSecure(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), secureKey{}, true))
}

// clientOf is the last address that is no trusted proxy's: what stands before it, anybody may have written.
func clientOf(trusted []netip.Prefix, headers []string) string {
	hops := strings.Split(strings.Join(headers, ","), ",")
	client := ""
	for i := len(hops) - 1; i >= 0; i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return client
		}
		client = addr.Unmap().String()
		if !contains(trusted, addr) {
			return client
		}
	}
	return client
}

func isTrusted(trusted []netip.Prefix, remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	return err == nil && contains(trusted, addr.Addr())
}

func contains(trusted []netip.Prefix, addr netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(addr.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}
