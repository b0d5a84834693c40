"""Operations on outputs, guided by the names of their axes."""
