package web

import (
	"encoding/base64"
	"net/http"
	"time"
)

const (
	flashCookie = "keyturn-said"
	themeCookie = "keyturn-theme"
)

// setCookie sets a cookie that no script reads and no other site's page sends. Without TLS, on a loopback
// address or a private network, a browser would not keep a secure one. No value: the cookie goes.
func setCookie(w http.ResponseWriter, r *http.Request, name, value string, maxAge time.Duration) {
	age := int(maxAge.Seconds())
	if value == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // secure whenever the browser would keep it
		Name: name, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteStrictMode,
	})
}

// redirect goes on to a page of this site, and to no other place.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	http.Redirect(w, r, localPath(to), http.StatusSeeOther) //nolint:gosec // localPath leads nowhere else
}

// setFlash keeps a message for the page that is shown next.
func setFlash(w http.ResponseWriter, r *http.Request, message string) {
	if message == "" {
		return
	}
	setCookie(w, r, flashCookie, base64.RawURLEncoding.EncodeToString([]byte(message)), time.Minute)
}

// takeFlash returns that message, once.
func takeFlash(w http.ResponseWriter, r *http.Request) string {
	cookie, err := r.Cookie(flashCookie)
	if err != nil {
		return ""
	}
	setCookie(w, r, flashCookie, "", 0)
	message, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(message) > 1000 {
		return ""
	}
	return string(message)
}

// themeOf is the theme that was chosen; empty: the system's.
func themeOf(r *http.Request) string {
	cookie, err := r.Cookie(themeCookie)
	if err != nil || cookie.Value != "light" && cookie.Value != "dark" {
		return ""
	}
	return cookie.Value
}

// setTheme keeps the theme in a cookie, so that no page flashes in the other one.
func (s *Site) setTheme(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	theme := r.PostFormValue("theme")
	if theme != "light" && theme != "dark" {
		theme = ""
	}
	setCookie(w, r, themeCookie, theme, yearly)
	redirect(w, r, r.PostFormValue("back"))
}
