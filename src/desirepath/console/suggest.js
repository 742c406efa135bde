// A search field whose suggestions come from the server, so that a million names need not come here.
export default {
  template: `
    <label class="dp-field" :style="{ width: width }">
      <span>{{ label }}</span>
      <input v-model="text" :placeholder="placeholder" autocomplete="off" spellcheck="false" role="combobox"
        :aria-expanded="open" aria-autocomplete="list"
        @input="ask" @focus="ask" @blur="close" @keydown="key" />
      <ul v-if="open && (found.length || text)" class="dp-found" role="listbox">
        <li v-for="(option, at) in found" :key="option.id" role="option" :aria-selected="at === place"
          @mousedown.prevent="pick(option)" @mousemove="place = at">
          {{ option.title }}<small v-if="option.more">{{ option.more }}</small>
        </li>
        <li v-if="!found.length" class="dp-none">{{ nothing }}</li>
      </ul>
    </label>`,
  props: { label: String, placeholder: String, nothing: String, found: Array, value: String, width: String },
  data() {
    return { text: this.value, open: false, place: 0, timer: null };
  },
  watch: {
    value(now) {
      this.text = now;
    },
    found() {
      this.place = 0;
    },
  },
  methods: {
    ask(event) {
      if (event.type === "focus") event.target.select();
      this.open = true;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.$emit("search", event.type === "focus" ? "" : this.text), 120);
    },
    close() {
      this.open = false;
      this.text = this.value;
    },
    pick(option) {
      this.open = false;
      this.text = option.title;
      this.$emit("pick", option.id);
    },
    key(event) {
      if (event.key === "Escape") return this.close();
      if (!["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
      event.preventDefault();
      if (event.key === "Enter") {
        if (this.open && this.found[this.place]) this.pick(this.found[this.place]);
        return;
      }
      this.open = true;
      const n = Math.max(1, this.found.length);
      this.place = (this.place + (event.key === "ArrowDown" ? 1 : n - 1)) % n;
    },
  },
};
