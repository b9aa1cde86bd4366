package inference

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// Who asks much waits behind his own: lines take turns.
func TestTheQueueIsFairToClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 100)
		leave, err := q.enter(t.Context(), "first")
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		done := make(chan struct{})
		wait := func(client string) {
			go func() {
				out, err := q.enter(t.Context(), client)
				if err != nil {
					t.Error(err)
				}
				order = append(order, client)
				out()
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		for range 3 {
			wait("greedy")
		}
		wait("modest")
		leave()
		for range 4 {
			<-done
		}
		if !slices.Equal(order, []string{"greedy", "modest", "greedy", "greedy"}) {
			t.Errorf("served %q", order)
		}
		if r, w, _ := q.state(); r != 0 || w != 0 {
			t.Errorf("%d run and %d wait", r, w)
		}
	})
}

func TestAFullQueueSaysSo(t *testing.T) {
	q := newQueue(1, 0)
	leave, err := q.enter(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.enter(t.Context(), "b"); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
	leave()
	leave() // twice is once
	if _, err := q.enter(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}

// Who gives up leaves no hole: those behind him move up.
func TestWhoGivesUpIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 10)
		leave, err := q.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := q.enter(ctx, "b")
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		leave()
		if r, w, _ := q.state(); r != 0 || w != 0 || len(q.lines) != 0 || len(q.turns) != 0 {
			t.Errorf("%d run, %d wait, lines %v, turns %v", r, w, q.lines, q.turns)
		}
	})
}
