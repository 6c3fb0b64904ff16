package asset

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// mostAnswer bounds the answer of an island: 200 resources are far less.
const mostAnswer = 16 << 20

// AskSearch has the island at base search over HTTP.
func AskSearch(ctx context.Context, client *http.Client, base, text string, limit int, everywhere bool) (Answer, error) {
	form := url.Values{"q": {text}, "limit": {strconv.Itoa(limit)}}
	if everywhere {
		form.Set("scope", scopeAll)
	}
	var a Answer
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+SearchPath+"?"+form.Encode(), nil)
	if err != nil {
		return a, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		var r refusal
		if json.Unmarshal(body, &r) != nil || r.Message == "" {
			return a, fmt.Errorf("it answered %s", resp.Status)
		}
		return a, fmt.Errorf("%s; %s", r.Message, r.Remedy)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("the answer is not an island's: %w", err)
	}
	return a, nil
}
