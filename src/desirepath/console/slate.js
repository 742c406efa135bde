// A list of items that moves when it changes: every row keeps its place in the eye. Texts are shown as texts.
export default {
  template: `
    <TransitionGroup name="slate" tag="ol" class="dp-slate">
      <li v-for="row in rows" :key="row.id">
        <button class="dp-row" :disabled="busy" :data-item="row.id" :aria-label="row.say" @click="$emit('choose', row.id)">
          <span class="dp-rank">{{ row.rank }}
            <span v-if="row.move" class="dp-move">
              <span v-if="row.move === 'new'" class="dp-new">{{ fresh }}</span>
              <span v-else-if="row.move > 0" class="dp-up">▲{{ row.move }}</span>
              <span v-else class="dp-down">▼{{ -row.move }}</span>
            </span>
          </span>
          <span>
            <span class="dp-title">{{ row.title }}</span>
            <span class="dp-tags"> {{ row.tags }}</span>
            <span class="dp-why" :title="row.why">{{ row.why }}</span>
          </span>
          <span class="dp-chance">{{ row.chance }}
            <span v-if="row.chance" class="dp-meter" style="display: block"><i :style="{ width: row.width + '%' }"></i></span>
          </span>
        </button>
      </li>
    </TransitionGroup>`,
  props: { rows: Array, busy: Boolean, fresh: String },
};
