// Command shop is each of the services of the disaster's compose project. It needs
// nothing beside itself, so that its image can be made of nothing.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// data is where the services that keep something have their volume.
const data = "/data"

var roles = map[string]http.HandlerFunc{
	// front passes on what it is asked.
	"front": func(w http.ResponseWriter, r *http.Request) {
		page, err := ask(r, "http://app/")
		answer(w, page, err)
	},
	// app asks db, and counts in its own volume how often it was asked.
	"app": func(w http.ResponseWriter, r *http.Request) {
		file := filepath.Join(data, "visits")
		if err := add(file, "."); err != nil {
			answer(w, "", err)
			return
		}
		visits, _ := os.ReadFile(file)
		orders, err := ask(r, "http://db/")
		answer(w, fmt.Sprintf("%svisit %d\n", orders, len(visits)), err)
	},
	// db keeps what it is sent in its volume, and says all of it.
	"db": func(w http.ResponseWriter, r *http.Request) {
		file := filepath.Join(data, "orders")
		order, err := io.ReadAll(r.Body)
		if err == nil && len(order) > 0 {
			err = add(file, string(order)+"\n")
		}
		orders, rerr := os.ReadFile(file)
		answer(w, string(orders), errors.Join(err, rerr))
	},
}

func main() {
	if role := os.Args[1]; role != "healthy" {
		http.HandleFunc("/healthy", func(http.ResponseWriter, *http.Request) {})
		http.HandleFunc("/", roles[role])
		log.Fatal(http.ListenAndServe(":80", nil))
	}
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Head("http://127.0.0.1/healthy")
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
}

func ask(r *http.Request, url string) (string, error) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, url, r.Body)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(page)))
	}
	return string(page), err
}

func add(file, content string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	return errors.Join(err, f.Close())
}

func answer(w http.ResponseWriter, page string, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_, _ = io.WriteString(w, page)
}
