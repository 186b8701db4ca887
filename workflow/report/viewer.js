"use strict";
// Draws a crystal on a canvas: spheres, bonds in two colours and the unit cell, far to near.
(() => {
  const reduced = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const CORNERS = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]];
  const EDGES = [[0, 1], [0, 2], [0, 3], [1, 4], [1, 5], [2, 4], [2, 6], [3, 5], [3, 6], [4, 7], [5, 7], [6, 7]];
  const AXES = [["a", "#b3261e"], ["b", "#1c7c3c"], ["c", "#1f4fb5"]];

  const multiply = (m, n) => m.map((row) => [0, 1, 2].map((j) => row[0] * n[0][j] + row[1] * n[1][j] + row[2] * n[2][j]));
  const apply = (m, v) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
  const turnX = (t) => [[1, 0, 0], [0, Math.cos(t), -Math.sin(t)], [0, Math.sin(t), Math.cos(t)]];
  const turnY = (t) => [[Math.cos(t), 0, Math.sin(t)], [0, 1, 0], [-Math.sin(t), 0, Math.cos(t)]];
  const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
  const unit = (v) => { const n = Math.hypot(...v); return v.map((x) => x / n); };
  const mix = (hex, other, share) => {
    const parse = (h) => [1, 3, 5].map((i) => parseInt(h.slice(i, i + 2), 16));
    const [p, q] = [parse(hex), parse(other)];
    return `rgb(${p.map((x, i) => Math.round(x + (q[i] - x) * share)).join(",")})`;
  };

  // Rows of the rotation are the screen's right, up and out-of-screen directions.
  const along = (direction, up) => {
    const z = unit(direction);
    const x = unit(cross(up, z));
    return [x, cross(z, x), z];
  };

  class Viewer {
    constructor(box) {
      this.scene = JSON.parse(document.getElementById(box.dataset.scene).textContent);
      this.canvas = box.querySelector("canvas");
      this.context = this.canvas.getContext("2d");
      const [a, b, c] = this.scene.lattice;
      this.corners = CORNERS.map(([i, j, k]) => [0, 1, 2].map((n) => (i - 0.5) * a[n] + (j - 0.5) * b[n] + (k - 0.5) * c[n]));
      const reach = [...this.corners, ...this.scene.atoms.map((t) => t.slice(0, 3))].map((v) => Math.hypot(...v));
      this.extent = Math.max(...reach) + 0.5;
      this.spinning = false;
      this.reset();
      this.listen(box);
      new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    reset() {
      const [a, , c] = this.scene.lattice;
      this.rotation = multiply(turnX(0.28), multiply(turnY(-0.42), along(cross(c, a).map((x) => -x), c)));
      this.zoom = 1;
      this.draw();
    }

    look(name) {
      const [a, b, c] = this.scene.lattice;
      this.rotation = { a: along(a, c), b: along(b, c), c: along(c, b) }[name];
      this.draw();
    }

    turn(right, down) {
      this.rotation = multiply(turnX(down), multiply(turnY(right), this.rotation));
      this.draw();
    }

    listen(box) {
      const canvas = this.canvas;
      let last = null;
      canvas.addEventListener("pointerdown", (e) => { last = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener("pointerup", () => { last = null; });
      canvas.addEventListener("pointercancel", () => { last = null; });
      canvas.addEventListener("pointermove", (e) => {
        if (!last) return;
        this.turn((e.clientX - last[0]) * 0.01, (e.clientY - last[1]) * 0.01);
        last = [e.clientX, e.clientY];
      });
      canvas.addEventListener("wheel", (e) => {
        // Only a focused picture zooms, so that the page still scrolls over the others.
        if (document.activeElement !== canvas) return;
        e.preventDefault();
        this.magnify(Math.exp(-e.deltaY * 0.001));
      }, { passive: false });
      canvas.addEventListener("keydown", (e) => {
        const step = 0.12;
        const acts = {
          ArrowLeft: () => this.turn(-step, 0), ArrowRight: () => this.turn(step, 0),
          ArrowUp: () => this.turn(0, -step), ArrowDown: () => this.turn(0, step),
          "+": () => this.magnify(1.15), "=": () => this.magnify(1.15), "-": () => this.magnify(1 / 1.15),
          r: () => this.reset(), R: () => this.reset(),
        };
        if (acts[e.key]) { e.preventDefault(); acts[e.key](); }
      });
      for (const button of box.querySelectorAll("button")) {
        button.addEventListener("click", () => {
          const act = button.dataset.act;
          if (act === "spin") this.spin(button);
          else if (act === "reset") this.reset();
          else this.look(act);
        });
      }
    }

    magnify(factor) {
      this.zoom = Math.min(6, Math.max(0.4, this.zoom * factor));
      this.draw();
    }

    spin(button) {
      this.spinning = !this.spinning;
      button.setAttribute("aria-pressed", String(this.spinning));
      const step = () => {
        if (!this.spinning) return;
        this.turn(reduced ? 0.004 : 0.012, 0);
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    }

    draw() {
      const { canvas, context: g } = this;
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      if (!width || !height) return;
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      g.clearRect(0, 0, width, height);
      const scale = (Math.min(width, height) / 2 / this.extent) * this.zoom * 0.94;
      const far = this.extent * 5;
      const project = (v) => {
        const [x, y, z] = apply(this.rotation, v);
        const perspective = (far / (far - z)) * scale;
        return { x: width / 2 + x * perspective, y: height / 2 - 8 - y * perspective, z, s: perspective };
      };
      const haze = (z) => Math.min(0.55, Math.max(0, (this.extent - z) / (2 * this.extent)) * 0.55);

      const { atoms, elements, bonds } = this.scene;
      const places = atoms.map((t) => project(t));
      const items = [];
      this.edges(project, items);
      for (const [i, j] of bonds) {
        const [p, q] = [places[i], places[j]];
        const middle = { x: (p.x + q.x) / 2, y: (p.y + q.y) / 2, z: (p.z + q.z) / 2, s: (p.s + q.s) / 2 };
        for (const [end, kind] of [[p, atoms[i][3]], [q, atoms[j][3]]]) {
          const z = (end.z + middle.z) / 2;
          items.push({ z: z - 0.05, draw: () => this.bond(end, middle, elements[kind].colour, haze(z)) });
        }
      }
      places.forEach((p, i) => {
        const element = elements[atoms[i][3]];
        items.push({ z: p.z, draw: () => this.ball(p, element, haze(p.z)) });
      });
      items.sort((u, v) => u.z - v.z).forEach((item) => item.draw());
      this.axes(width, height);
    }

    edges(project, items) {
      const g = this.context;
      const ends = this.corners.map(project);
      for (const [i, j] of EDGES) {
        const [p, q] = [ends[i], ends[j]];
        items.push({
          z: Math.min(p.z, q.z) * 0.5 + (p.z + q.z) * 0.25,
          draw: () => {
            g.strokeStyle = "rgba(60,72,88,.6)";
            g.lineWidth = 1.1;
            g.beginPath(); g.moveTo(p.x, p.y); g.lineTo(q.x, q.y); g.stroke();
          },
        });
      }
    }

    bond(end, middle, colour, fade) {
      const g = this.context;
      g.lineCap = "butt";
      for (const [share, tone] of [[1, mix(colour, "#20262e", 0.38)], [0.62, colour], [0.25, mix(colour, "#ffffff", 0.4)]]) {
        g.strokeStyle = fade ? mixRgb(tone, fade) : tone;
        g.lineWidth = Math.max(1, 0.2 * middle.s * share);
        g.beginPath(); g.moveTo(end.x, end.y); g.lineTo(middle.x, middle.y); g.stroke();
      }
    }

    ball(p, element, fade) {
      const g = this.context;
      const radius = Math.max(2, (0.18 + 0.24 * element.radius) * p.s);
      const shade = g.createRadialGradient(p.x - radius * 0.35, p.y - radius * 0.4, radius * 0.08, p.x, p.y, radius);
      shade.addColorStop(0, mixRgb(mix(element.colour, "#ffffff", 0.75), fade));
      shade.addColorStop(0.45, mixRgb(element.colour, fade));
      shade.addColorStop(1, mixRgb(mix(element.colour, "#10151c", 0.5), fade));
      g.fillStyle = shade;
      g.beginPath(); g.arc(p.x, p.y, radius, 0, 2 * Math.PI); g.fill();
      g.strokeStyle = mixRgb(mix(element.colour, "#10151c", 0.62), fade);
      g.lineWidth = 0.7;
      g.stroke();
    }

    axes(width, height) {
      const g = this.context;
      const origin = [34, height - 34];
      g.font = "600 12px system-ui, sans-serif";
      g.textAlign = "center"; g.textBaseline = "middle";
      this.scene.lattice
        .map((v, i) => ({ v: apply(this.rotation, unit(v)), name: AXES[i][0], colour: AXES[i][1] }))
        .sort((u, w) => u.v[2] - w.v[2])
        .forEach(({ v, name, colour }) => {
          g.strokeStyle = g.fillStyle = colour;
          g.lineWidth = 2;
          g.beginPath(); g.moveTo(...origin); g.lineTo(origin[0] + 20 * v[0], origin[1] - 20 * v[1]); g.stroke();
          g.fillText(name, origin[0] + 27 * v[0], origin[1] - 27 * v[1]);
        });
    }
  }

  // Fades a colour towards the background, so that what is far looks far.
  const mixRgb = (colour, share) => {
    const parts = colour.startsWith("#")
      ? [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16))
      : colour.match(/\d+/g).slice(0, 3).map(Number);
    return `rgb(${parts.map((x, i) => Math.round(x + ([243, 246, 250][i] - x) * share)).join(",")})`;
  };

  // A page of many crystals starts at once: each is drawn when it comes near the window.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      entry.target.viewer = new Viewer(entry.target);
    }
  }, { rootMargin: "300px" });
  for (const box of document.querySelectorAll(".viewer")) watcher.observe(box);
})();
