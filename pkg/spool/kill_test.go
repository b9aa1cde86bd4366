package spool

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
)

const killMe = "SPOOL_TEST_DIR"

// TestMain lets this program be the daemon that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killMe); dir != "" {
		appendAndTake(dir)
	}
	os.Exit(m.Run())
}

// appendAndTake works until it is killed and says what it has done: + appended,
// ? taken, - acknowledged, each up to a number.
func appendAndTake(dir string) {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Println("! opening:", err)
		return
	}
	s.segmentSize = 256 // so that many begin and end
	say := func(what string, n uint64) { _, _ = fmt.Fprintf(os.Stdout, "%s %d\n", what, n) }
	for {
		for range rand.IntN(30) {
			if err := s.Append(number(s.next)); err != nil {
				fmt.Println("! appending:", err)
				return
			}
			say("+", s.next)
		}
		_, err := s.Next(rand.IntN(35))
		say("?", s.taken.number)
		if err == nil {
			err = s.Ack()
		}
		if err != nil {
			fmt.Println("! taking:", err)
			return
		}
		say("-", s.begin.number)
	}
}

// Proves METRICS-2: a process that is killed at any instant loses no record
// that it appended, and takes none again that it acknowledged.
func TestKilledAgainAndAgain(t *testing.T) {
	dir := t.TempDir()
	var appended, taken, acked uint64
	for rounds := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killMe+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n, last := 0, 1+rand.IntN(800); lines.Scan(); n++ {
			if n == last {
				_ = cmd.Process.Kill()
			}
			var what string
			var number uint64
			if _, err := fmt.Sscan(lines.Text(), &what, &number); err != nil {
				t.Fatalf("it says %q", lines.Text())
			}
			switch what {
			case "+":
				appended = number
			case "?":
				taken = number
			case "-":
				acked = number
			}
		}
		_ = cmd.Wait() // killed

		s := open(t, dir, Options{})
		if s.next < appended || s.next > appended+1 {
			t.Fatalf("round %d: %d records, %d were appended", rounds, s.next, appended)
		}
		if s.begin.number < acked || s.begin.number > max(acked, taken) {
			t.Fatalf("round %d: begins with %d; acknowledged up to %d, taken up to %d", rounds, s.begin.number, acked, taken)
		}
		if st := s.Stats(); st.Dropped+st.Damaged != 0 {
			t.Fatalf("round %d: %+v", rounds, st)
		}
		expect(t, s, 1<<20, s.begin.number, s.next)
		_ = s.Close()
	}
	if appended < 100 || acked < 100 {
		t.Errorf("%d records appended, %d acknowledged", appended, acked)
	}
}
