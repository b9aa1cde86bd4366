package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/arasul/arasul/pkg/client"
)

const (
	ownPage   = "https://127.0.0.1"
	maxPage   = 4 << 20 // bytes of one file of the page
	maxAssets = 32
)

// assets are the files that the page names.
var assets = regexp.MustCompile(`(?:src|href)="(/assets/[A-Za-z0-9._-]+)"`)

// openPage loads what a browser would, through the proxy: the page, the files that
// it names, and the first answer of the API.
func openPage(ctx context.Context) error {
	browser := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// This machine asks itself; whether devices trust its name is another step's.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // on loopback
		},
	}
	defer browser.CloseIdleConnections()
	page, err := fetchFile(ctx, browser, "/")
	if err != nil {
		return err
	}
	found := assets.FindAllStringSubmatch(string(page), maxAssets)
	if len(found) == 0 {
		return errors.New("what is at / is not the page")
	}
	for _, m := range found {
		if _, err := fetchFile(ctx, browser, m[1]); err != nil {
			return err
		}
	}
	return client.New(dashboardSocket).GetJSON(ctx, "/api/system/status", &struct{}{})
}

func fetchFile(ctx context.Context, browser *http.Client, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ownPage+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := browser.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the page does not answer: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s is answered with %d %s", path, answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxPage))
}
